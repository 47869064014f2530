"""Downloads, archives and prepared arrays: the files of datasets."""
