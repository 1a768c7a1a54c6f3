"""What the kit says, in the language of the reader: English, or Simplified Chinese.

Everything is written in English in the code. The catalogues beside this file (gettext, one for
each concern) hold the Chinese; the panels, the exercises, errors and findings look it up here.
"""

from rerank_kit.language.choice import LANGUAGES, asked_for, language_of
from rerank_kit.language.translation import localised, translated

__all__ = ["LANGUAGES", "asked_for", "language_of", "localised", "translated"]
