"""The node: receive → assemble → (inference) → report → deliver."""

NODE_VERSION = "0.1.0"
