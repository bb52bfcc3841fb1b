"""The main job once, with an Orthanc and a node of its own; the tests start both the same way."""
