"""Run the command line as `python -m tierod`."""

from tierod.cli import main

if __name__ == "__main__":
    main()
