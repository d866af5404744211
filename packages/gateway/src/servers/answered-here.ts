/** The status text of an answer that the gateway gives in the server's place. It is never sent. */
export const answeredHere = 'Answered by the gateway'
