"""The sending of requests: the dispatcher, the send queue, the classification of replies, the records of requests."""
