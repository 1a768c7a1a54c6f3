"""Is that server giving the official scores, and is it safe? Ask it from outside, by its address.

examination.py asks everything in order; patient.py is what a server can be asked; known_pairs.py
has the answers; prompt_, score_, limit_ and exposure_checks.py and known_bugs.py judge; parity.py
compares with transformers (in another process).
"""

from rerank_kit.doctor.examination import examine
from rerank_kit.doctor.findings import Examination, Finding

__all__ = ["Examination", "Finding", "examine"]
