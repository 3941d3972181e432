"""`python -m hwnas`: the command line, where the script `hwnas` is not on the path."""

from hwnas.cli.main import main

if __name__ == "__main__":
    main()
