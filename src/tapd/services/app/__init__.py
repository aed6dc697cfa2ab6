"""The server type ``app``: a server built by a factory function in the author's module.

`factory` finds and calls the function; `options` has the options of `tapd-mktap app`.
"""
