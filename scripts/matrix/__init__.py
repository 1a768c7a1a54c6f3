"""Run one version of vLLM for real and write down what it understands (version_matrix.py)."""
