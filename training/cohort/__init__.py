"""A cohort: a table of studies with labels and images, checked, split, and made into what recipes learn from.

table      the table and its rows (``sheet``, ``roles``, ``columns``, ``study``); every fault with row and column
leakage    what would tell a model the answer by another way
splits     folds by patient and centre, stored (``strata``)
images     one row's images as volumes, by the functions that serve (``volumes``)
prepare    all rows through ``inference.model.look``, cached by content (``seen``, ``cache``, ``parallel``)
check      all of it looked over: ``petct-node cohort check``
"""
