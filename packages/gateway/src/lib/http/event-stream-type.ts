/** True for the Content-Type of an event stream, in any case and with or without parameters. */
export function isEventStream(type: string | undefined): boolean {
  return type !== undefined && /^text\/event-stream[ \t]*(;|$)/i.test(type)
}
