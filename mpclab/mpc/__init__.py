"""Multi-party computation as machines: keys that nobody holds, signatures, secure arithmetic."""
