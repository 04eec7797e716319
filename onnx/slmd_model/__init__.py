"""Tools that make the ONNX model bundles slmd loads.

Nothing here runs on the device: the daemon is Rust. See ../README.md.
"""

__version__ = "0.1.0"
