import { ApolloDriver, type ApolloDriverConfig } from '@nestjs/apollo';
import { Module } from '@nestjs/common';
import { GraphQLModule } from '@nestjs/graphql';
import { SessionModule } from 'nest-sessions';
import { memoryEngine } from 'nest-sessions/memory';
import { ChatResolver } from './chat.resolver.js';

@Module({
  imports: [
    SessionModule.forRoot(memoryEngine()),
    GraphQLModule.forRoot<ApolloDriverConfig>({
      driver: ApolloDriver,
      autoSchemaFile: true,
      subscriptions: { 'graphql-ws': true },
    }),
  ],
  providers: [ChatResolver],
})
export class AppModule {}
