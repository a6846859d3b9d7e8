version: str
torch_version: str
torch_minor: str
compiler: str
build_type: str
python_version: str
