"""Experiments: which runs answer a question, their figures in pairs, and the sentences that these allow."""
