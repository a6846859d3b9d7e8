"""Say in a generated stub what pybind11-stubgen cannot know, so that mypy takes it.

Exceptions made by pybind11 live in the module but carry the package's name; the generated import of
them from the package would be a cycle. Comparisons return NotImplemented for other types.
"""

import importlib
import re
import sys
from pathlib import Path

_REPLACEMENTS = [
    (r"def (__eq__|__ne__)\(self, \w+: [^)]+\)", r"def \1(self, other: object)"),
    (r"(__hash__: typing\.ClassVar\[None\] = None)$", r"\1  # type: ignore[assignment]"),
    (r"\*args\)", r"*args: typing.Any)"),
    (r"\*\*kwargs\)", r"**kwargs: typing.Any)"),
    (r"\bcollections\.abc\.Callable\b(?!\[)", "collections.abc.Callable[..., typing.Any]"),
    (r"(?<=[:>] )tuple\b(?!\[)", "tuple[typing.Any, ...]"),
    (r"(?<=[:>] )dict\b(?!\[)", "dict[str, typing.Any]"),
    (r"(?<=[:>] )list\b(?!\[)", "list[typing.Any]"),
]


def exception_class(module, name):
    kind = getattr(module, name)
    bases = ", ".join(base.__name__ for base in kind.__bases__)
    return f"class {name}({bases}): ...\n"


def finish(text, module):
    package = module.__name__.rpartition(".")[0]
    from_package = re.compile(rf"^from {package} import (\w+)\n", re.MULTILINE)
    names = sorted(from_package.findall(text), key=lambda n: len(getattr(module, n).__mro__))
    text = from_package.sub("", text)
    if names:
        classes = "\n".join(exception_class(module, name) for name in names)
        imports_end = re.search(r"^__all__: list\[str\] = \[.*?\]\n", text, re.M | re.S).end()
        text = f"{text[:imports_end]}\n{classes}{text[imports_end:]}"
    for pattern, replacement in _REPLACEMENTS:
        text = re.sub(pattern, replacement, text, flags=re.MULTILINE)
    return text


if __name__ == "__main__":
    stub = Path(sys.argv[1])
    stub.write_text(finish(stub.read_text(), importlib.import_module(sys.argv[2])))
