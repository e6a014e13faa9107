"""The commands: a module each, with its flags (``define``) and what it does (``call``)."""
