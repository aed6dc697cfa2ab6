"""The twin: programs, run in plain Python and under tapd, that must not differ.

A program (`program`) is a few classes and a row of cells: turns of statements, and
kills, saves, stops and reloads between them. `maker` writes one for each seed. `worlds`
runs it twice: as plain Python would (the twin), and under tapd, whose memory is thrown
away at each kill. What the statements answer and what the graphs are (`canon`, by value
and identity) has to be the same. What differs shrinks to a few lines (`shrink`).

``python tests/twin`` runs many, and repeats one; `limits` is what is left out.
"""
