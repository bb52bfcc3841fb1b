"""Finding lesions in the uptake, setting usual uptake aside, and measuring."""
