"""Notices about runs to webhooks, with retries. A notice never delays a stop.

May import audit, playbook, settings, `cloud.transport`, `engine.event` and the shared modules. Sends HTTP requests to
the webhooks, never to Phala Cloud.
"""
