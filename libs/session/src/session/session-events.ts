/** Something worth knowing happened to a session. `sessionId` is public; keys are never part of an event. */
export type SessionEvent =
  /** A request changed a session that had gone away meanwhile; its changes were dropped. */
  | { type: 'write-after-end'; sessionId: string }
  /** A record could not be decoded. It is treated as absent and left where it is. */
  | { type: 'corrupt'; error: Error };

export type SessionEventListener = (event: SessionEvent) => void;
