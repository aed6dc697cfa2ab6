"""An application's files: TAPs and their generations, the signing key, locks, the journal."""
