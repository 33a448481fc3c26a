"""Where phrases are in images: the model in a process of its own.

`grounder` says what is asked and answered, whoever answers; `worker` is the model's
parent and `child` its process.
"""
