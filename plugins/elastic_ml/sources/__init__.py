"""Raw records of a source, read as a stream and turned into ECS documents, in bounded memory.

A *reader* opens one partition and yields :class:`~elastic_ml.sources.records.Raw`; an *adapter* turns the stream of raw
records into documents and rejects. Both are plain functions or objects behind a Protocol; a project names its own as
``module:function``.
"""
