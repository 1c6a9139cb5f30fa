"""Libraries that compute with curves and ciphers; `mpclab.crypto.primitives` chooses among them."""
