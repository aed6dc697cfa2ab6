"""The server type ``app``: a server made by a function in a module of yours.

`factory` finds and calls the function; `options` has the options of `tapd-mktap app`.
"""
