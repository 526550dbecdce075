"""The command: folders of masks are paired, read, counted by workers and scored.

The counts are exact integers whatever the order, so neither the number of workers nor that of
machines changes a bit of them.

``command.py`` has the options and ``folders.py`` the run. ``counter.py`` counts one pair;
``workers.py`` and ``processes.py`` distribute the pairs, ``ledger.py`` adds them up,
``checkpoint.py`` saves the sums; ``summary.py`` scores them, ``writing.py`` writes tables, JSON,
CSV and Markdown. ``compare.py``, ``models.py`` and ``comparison.py`` do the same for several
models. ``arguments.py`` has the options that both commands have. ``outputs.py`` checks where
results go before anything is counted; ``warnings.py`` collects what looks wrong; ``memory.py``
knows how much memory there is.

A plain run does not import torch: that takes longer than scoring a small folder. ``images.py`` and
other modules that need it are imported on first use.
"""
