"""
Other people's tests and clients against Corral. Not a part of the test suite: they need a checkout, or packages from
an index. What they showed stands in docs/compatibility.md.
"""
