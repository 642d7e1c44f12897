"""The Kibana side of the sandbox.

- `application.py`: what is different from Elasticsearch's HTTP: spaces in the path, `kbn-xsrf`, versions, errors
- `saved_objects.py` and `importing.py`: what Kibana keeps, and how it gets in; `data_views.py`, `spaces.py`
- `connectors.py`: connectors, and what executing one does
- `rules.py` (kept, checked), `rule_run.py` (what a run does), `alerts.py` (new, ongoing, recovered, flapping),
  `alert_documents.py` (the documents of `.alerts-*`), `actions.py` (who is told), `scheduler.py` (when)
- `*_routes.py`: the HTTP side of each; `service.py`: the part of the backend

Facts are from Kibana's sources (elastic/kibana) and its API specification; each rule names its file.
"""
