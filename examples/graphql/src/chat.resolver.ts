import { UnauthorizedException, UseGuards } from '@nestjs/common';
import {
  Args,
  Field,
  Int,
  Mutation,
  ObjectType,
  Query,
  ResolveField,
  Resolver,
  Subscription,
} from '@nestjs/graphql';
import { PubSub } from 'graphql-subscriptions';
import { Session, SessionGuard } from 'nest-sessions';

declare module 'nest-sessions' {
  interface SessionData {
    sent: number;
    seen: number;
  }
}

@ObjectType()
class Message {
  @Field()
  author!: string;

  @Field()
  text!: string;
}

const events = new PubSub();

@Resolver(() => Message)
export class ChatResolver {
  @Query(() => String, { nullable: true })
  me(@Session('userId') userId: string | null) {
    return userId;
  }

  /** Over HTTP only: a socket cannot set the cookie of the new session. */
  @Mutation(() => Boolean)
  login(@Session() session: Session, @Args('name') name: string, @Args('password') password: string) {
    if (name !== 'ada' || password !== 'engine') throw new UnauthorizedException();
    session.login(name);
    return true;
  }

  @Mutation(() => Boolean)
  logout(@Session() session: Session) {
    session.logout();
    return true;
  }

  /** Says something to everybody, and returns how often this session has. */
  @Mutation(() => Int)
  @UseGuards(SessionGuard)
  async say(@Session() session: Session, @Args('text') text: string) {
    await events.publish('message', { message: { author: session.userId, text } });
    return session.increment('sent');
  }

  /** Of a message: how many this session has seen by now. */
  @ResolveField(() => Int)
  seen(@Session() session: Session) {
    return session.increment('seen');
  }

  /** It is complete when the session ends. */
  @Subscription(() => Message)
  @UseGuards(SessionGuard)
  message() {
    return events.asyncIterableIterator('message');
  }
}
