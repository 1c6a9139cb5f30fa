"""mpclab: a laboratory for systems in which n parties must agree and then act together."""

__version__ = "0.1.0"
