"""Memory planning as plain data: where buffers go that live for a while each.

`buffers` says what a buffer and a plan are, `greedy` and `skyline` place buffers one by one,
`search` lowers a plan locally, `planning` combines them.  Nothing here knows of IR or machines.
"""
