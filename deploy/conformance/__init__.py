"""The DICOM conformance statement: ``python -m deploy.conformance`` writes the tables of ``conformance.md`` anew.

The prose lies in ``conformance.md`` itself, between the tables; each table stands between two markers and is generated
from the code, or from result objects written for it.  Nothing here is shipped with the node.
"""
