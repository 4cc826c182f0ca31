"""`python -m adsync`."""

from adsync.cli import main

if __name__ == "__main__":
    main()
