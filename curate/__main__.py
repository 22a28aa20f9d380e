"""`python -m curate`, for launchers such as torchrun."""

from curate.cli import main

if __name__ == "__main__":
    main()
