"""`python -m hypnet_hpsearch.trial DIRECTORY`: run one attempt at a trial."""

import sys

from hypnet_hpsearch.trial.wrapper import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
