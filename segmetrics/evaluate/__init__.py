"""The command: folders of masks are paired, read, counted by workers and scored.

The counts are exact integers whatever the order, so neither the number of workers nor that of
machines changes a bit of them.

``command.py`` has the options and ``folders.py`` the run. ``counter.py`` counts one pair;
``workers.py`` and ``processes.py`` distribute the pairs, ``ledger.py`` adds them up,
``checkpoint.py`` saves the sums, ``summary.py`` writes tables, JSON, CSV and the report.
``outputs.py`` checks where they go before anything is counted; ``warnings.py`` collects what looks
wrong; ``memory.py`` knows how much memory there is.
"""
