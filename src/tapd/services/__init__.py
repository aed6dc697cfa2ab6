"""The server types that come with tapd, each a package of its own."""
