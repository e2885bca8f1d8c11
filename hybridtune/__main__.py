"""`python -m hybridtune`: what a cluster runs, where no script of that name is installed."""

from hybridtune.cli.main import main

if __name__ == "__main__":
    main()
