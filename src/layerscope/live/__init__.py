"""The live view: what the microscope shows now, with what is on it drawn over it.

    source -> Reader (a thread) -> newest frame -> Analyst (a process) -> newest answer
                                        |                                    |
                                        +----------> Display (a thread) <----+
                                                          |
                                   one drawing -> window, browser, recording

`sources` are where pictures come from, `session` holds the parts together; a frame that comes while
the analysis is busy is dropped and counted, so that the answer is always about the newest one.
"""
