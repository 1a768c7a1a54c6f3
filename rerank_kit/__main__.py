"""`python -m rerank_kit` is the same as `rerank-kit`."""

import sys

from rerank_kit.cli import main

sys.exit(main())
