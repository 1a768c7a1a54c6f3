"""For what has no good library of its own: a LangChain compressor, and a small web back end.

Other libraries need only the right address; notebook 11 and tests/integrations have the lines.
"""
