"""Names of version 0.1.0 that the scripts inside stored models import; see `tru.__path__`.

A model in MLflow is a script and arrays. The script is as old as the model, and asks for the modules of its day. This
folder stands on the search path of the package ``tru``, so that ``tru.release.serving`` is found here. Nothing else may
use it.
"""
