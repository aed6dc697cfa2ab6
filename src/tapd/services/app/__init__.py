"""The type ``app``: a server made by a function in a module of yours.

Imports what is above `services` only. `factory` finds and calls the function,
`options` is what tapd-mktap shows.
"""
