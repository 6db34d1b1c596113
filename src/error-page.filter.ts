import { STATUS_CODES } from 'node:http';
import { type ArgumentsHost, Catch, type ExceptionFilter, HttpException, Logger } from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import { type Session } from 'nest-sessions';

const explanations: Record<number, string> = {
  401: 'This page is for users who are logged in.',
  403: 'The form was sent from another site, or by a browser that does not say from where. Nothing was changed.',
  404: 'There is no such page.',
  503: 'The session store does not answer, so we cannot know who you are. You are not logged out: try again soon.',
};

interface FailedRequest {
  /** There is none when an error came before the session middleware. */
  session?: Session;
}

/** Errors as a page, with the same header as any other. */
@Catch()
export class ErrorPageFilter implements ExceptionFilter {
  readonly #logger = new Logger('ErrorPage');

  constructor(private readonly adapterHost: HttpAdapterHost) {}

  async catch(exception: unknown, host: ArgumentsHost): Promise<void> {
    const { httpAdapter } = this.adapterHost;
    const response: unknown = host.switchToHttp().getResponse();
    const status = statusOf(exception);
    // SessionGuard redirects by an exception whose Location is already set.
    if (status < 400) {
      httpAdapter.reply(response, null, status);
      return;
    }
    if (status === 500) this.#logger.error(exception);
    const user = status === 503 ? null : await userOf(host.switchToHttp().getRequest<FailedRequest>());
    httpAdapter.status(response, status);
    httpAdapter.render(response, 'error', {
      title: STATUS_CODES[status],
      status,
      explanation: explanations[status] ?? 'This did not work.',
      needsLogin: status === 401,
      user,
    });
  }
}

/** Null also when the session cannot be loaded, which may be the very thing that failed. */
async function userOf({ session }: FailedRequest): Promise<string | null> {
  try {
    return session ? (await session.load()).userId : null;
  } catch {
    return null;
  }
}

/** Body parsers throw errors of their own, with a `statusCode`. */
function statusOf(exception: unknown): number {
  if (exception instanceof HttpException) return exception.getStatus();
  const { statusCode } = Object(exception) as { statusCode?: unknown };
  return typeof statusCode === 'number' && statusCode >= 400 ? statusCode : 500;
}
