"""`python -m pyrorec`."""

from pyrorec.cli import main

if __name__ == "__main__":
    main()
