"""Hides the installed package where ``KVAE_TF_WITHOUT_TFP=1``, see ``tests/conftest.py``."""

raise ModuleNotFoundError(f"No module named {__name__!r}", name=__name__)
