"""
The benchmark: the gateway beside other programs (`corral bench gateway`), and Models (`corral bench MODEL...`).

A client of a running Corral: it measures from outside, over sockets and /proc, and knows nothing of what is inside.
"""
