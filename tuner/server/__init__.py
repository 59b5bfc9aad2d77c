"""The service: a study read, followed and steered over HTTP. It holds no truth of its own: it reads the record, and
writes requests.
"""
