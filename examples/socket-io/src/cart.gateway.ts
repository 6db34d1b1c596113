import { UseGuards } from '@nestjs/common';
import { MessageBody, SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { Session, SessionGuard } from 'nest-sessions';

@WebSocketGateway()
@UseGuards(SessionGuard)
export class CartGateway {
  @SubscribeMessage('whoami')
  whoAmI(@Session('userId') userId: string) {
    return userId;
  }

  /** The acknowledgement leaves when the session has been saved. */
  @SubscribeMessage('add')
  add(@Session() session: Session, @MessageBody() item: string) {
    session.push('cart', item);
    return session.cart;
  }
}
