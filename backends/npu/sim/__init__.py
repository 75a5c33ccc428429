"""The cycle-level simulator, in the order data flows through it.

`expand` resolves loops into executions, `costs` prices each, `timing` schedules them, `hazards`
proves the schedule race-free, `functional` computes; `bounds`, `counters` and `trace` report.
"""
